# A stand-in of Slicer's CMake package: what find_package(Slicer) gives an extension of scripted modules.
#
# The contract is that of Slicer 5.10 to 5.13 (CMake/SlicerConfig.cmake.in, UseSlicer.cmake.in): three files to
# include, and the layout of the installed tree.

set(Slicer_FOUND TRUE)
set(Slicer_VERSION 5.12)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/ExtensionCPack.cmake")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-${Slicer_VERSION}/qt-scripted-modules")
set(Slicer_INSTALL_SHARE_DIR "share/Slicer-${Slicer_VERSION}")
