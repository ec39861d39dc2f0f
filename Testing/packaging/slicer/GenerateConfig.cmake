# Slicer writes <Extension>Config.cmake here, for other extensions to find this one.

file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}Config.cmake" "set(${EXTENSION_NAME}_FOUND TRUE)\n")
