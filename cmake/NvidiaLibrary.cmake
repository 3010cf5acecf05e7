# annulus_nvidia_library(): one of NVIDIA's libraries, in the toolkit's folders, CMAKE_PREFIX_PATH, or Python's wheels.
# SPDX-License-Identifier: Apache-2.0

# annulus_nvidia_folders(<variable>): wheels keep headers and libraries in <site-packages>/nvidia/<package>/{include,lib}.
# Asked are the folders of CMAKE_PREFIX_PATH and those where python3 looks for packages.
function(annulus_nvidia_folders variable)
  find_program(ANNULUS_PYTHON3 python3)
  mark_as_advanced(ANNULUS_PYTHON3)
  set(roots "")
  if(ANNULUS_PYTHON3)
    execute_process(COMMAND ${ANNULUS_PYTHON3} -c "import sys; print(';'.join(sys.path[1:]))" OUTPUT_VARIABLE roots
                    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  string(REPLACE ":" ";" from_environment "$ENV{CMAKE_PREFIX_PATH}")
  set(folders "")
  foreach(root IN LISTS CMAKE_PREFIX_PATH from_environment roots)
    if(root)
      file(GLOB found LIST_DIRECTORIES true ${root}/nvidia/*)
      list(APPEND folders ${found})
    endif()
  endforeach()
  set(${variable} ${folders} PARENT_SCOPE)
endfunction()

# annulus_nvidia_library(<Package> HEADER <name> LIBRARY <name> MAJORS <n>... VERSION_HEADER <name> VERSION_PREFIX <prefix>
#                        VERSION_PARTS <word>...)
#
# Sets <Package>_INCLUDE_DIR, <Package>_LIBRARY and <Package>_VERSION, from `#define <prefix><word> n` for each part. Wheels
# have no lib<name>.so, only lib<name>.so.<major>.
function(annulus_nvidia_library package)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "HEADER;LIBRARY;VERSION_HEADER;VERSION_PREFIX" "MAJORS;VERSION_PARTS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "annulus_nvidia_library(${package}): unknown argument ${arg_UNPARSED_ARGUMENTS}")
  endif()
  annulus_nvidia_folders(folders)
  set(names ${arg_LIBRARY})
  foreach(major IN LISTS arg_MAJORS)
    list(APPEND names lib${arg_LIBRARY}.so.${major})
  endforeach()
  find_path(${package}_INCLUDE_DIR ${arg_HEADER} HINTS ${CUDAToolkit_INCLUDE_DIRS} ${folders} PATH_SUFFIXES include)
  find_library(${package}_LIBRARY NAMES ${names} HINTS ${CUDAToolkit_LIBRARY_DIR} ${folders} PATH_SUFFIXES lib lib64)
  mark_as_advanced(${package}_INCLUDE_DIR ${package}_LIBRARY)
  set(parts "")
  if(EXISTS ${${package}_INCLUDE_DIR}/${arg_VERSION_HEADER})
    foreach(part IN LISTS arg_VERSION_PARTS)
      file(STRINGS ${${package}_INCLUDE_DIR}/${arg_VERSION_HEADER} line REGEX "^#define ${arg_VERSION_PREFIX}${part} +[0-9]+")
      string(REGEX REPLACE ".* ([0-9]+).*" "\\1" number "${line}")
      list(APPEND parts ${number})
    endforeach()
  endif()
  list(JOIN parts "." version)
  set(${package}_VERSION ${version} PARENT_SCOPE)
endfunction()
