# Finds xxHash: XxHash::XxHash.
# SPDX-License-Identifier: Apache-2.0

include(FindPackageHandleStandardArgs)
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(PC_XxHash QUIET libxxhash)
endif()
find_path(XxHash_INCLUDE_DIR xxhash.h HINTS ${PC_XxHash_INCLUDE_DIRS})
find_library(XxHash_LIBRARY xxhash HINTS ${PC_XxHash_LIBRARY_DIRS})
mark_as_advanced(XxHash_INCLUDE_DIR XxHash_LIBRARY)
find_package_handle_standard_args(
  XxHash
  REQUIRED_VARS XxHash_LIBRARY XxHash_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install libxxhash-dev or set CMAKE_PREFIX_PATH")
if(XxHash_FOUND AND NOT TARGET XxHash::XxHash)
  add_library(XxHash::XxHash UNKNOWN IMPORTED)
  set_target_properties(XxHash::XxHash PROPERTIES IMPORTED_LOCATION ${XxHash_LIBRARY}
                                                  INTERFACE_INCLUDE_DIRECTORIES ${XxHash_INCLUDE_DIR})
endif()
