# Slicer packages the installed tree here, with a description file for its catalogue: one "keyword value" a line.
#
# Slicer hands the values on without quotes, so that a semicolon would cut them; they are written here as they would
# arrive there.

set(_lines "")
foreach(_key HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS KEYWORDS)
  if("${EXTENSION_${_key}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${_key} is not set")
  endif()
  list(GET EXTENSION_${_key} 0 _value)
  string(TOLOWER "${_key}" _keyword)
  string(APPEND _lines "${_keyword} ${_value}\n")
endforeach()
foreach(_file LICENSE README)
  if(NOT EXISTS "${EXTENSION_${_file}_FILE}")
    message(FATAL_ERROR "EXTENSION_${_file}_FILE: there is no \"${EXTENSION_${_file}_FILE}\"")
  endif()
endforeach()
file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext" "${_lines}")
install(FILES "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext" DESTINATION "${Slicer_INSTALL_SHARE_DIR}")
