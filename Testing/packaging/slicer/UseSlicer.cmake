# What an extension may call after include(${Slicer_USE_FILE}): the macros for scripted modules and their tests.

set(EXTENSION_NAME "${PROJECT_NAME}")
option(BUILD_TESTING "Add the tests that ctest runs inside Slicer" ON)
if(BUILD_TESTING)
  enable_testing()
endif()

# Slicer copies each listed file at build time and installs the copies; here the listed files are installed directly,
# so that neither a compiler nor a build tool is needed.
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(_module "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(_module_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: unknown argument \"${_module_UNPARSED_ARGUMENTS}\"")
  endif()
  if(NOT _module_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: NAME is missing")
  endif()
  foreach(_file IN LISTS _module_SCRIPTS _module_RESOURCES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${_file}")
      message(FATAL_ERROR "slicerMacroBuildScriptedModule: there is no \"${_file}\"")
    endif()
    get_filename_component(_folder "${_file}" DIRECTORY)
    install(FILES "${_file}" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${_folder}"
      COMPONENT RuntimeLibraries)
  endforeach()
  if(BUILD_TESTING AND _module_WITH_GENERIC_TESTS)
    add_test(NAME "py_nomainwindow_qSlicer${_module_NAME}ModuleGenericTest"
      COMMAND Slicer --testing --no-main-window --disable-cli-modules)
  endif()
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(_test "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${_test_SCRIPT}")
    message(FATAL_ERROR "slicer_add_python_unittest: there is no \"${_test_SCRIPT}\"")
  endif()
  get_filename_component(_name "${_test_SCRIPT}" NAME_WE)
  add_test(NAME "py_${_test_TESTNAME_PREFIX}${_name}" COMMAND Slicer --testing ${_test_SLICER_ARGS})
endmacro()
