# Finds a BLAS with the C interface, OpenBLAS first: CBLAS::CBLAS.
# SPDX-License-Identifier: Apache-2.0

include(FindPackageHandleStandardArgs)
find_package(PkgConfig QUIET)
if(PKG_CONFIG_FOUND)
  pkg_search_module(PC_CBLAS QUIET openblas blas-openblas cblas blis)
endif()
find_path(CBLAS_INCLUDE_DIR cblas.h HINTS ${PC_CBLAS_INCLUDE_DIRS} PATH_SUFFIXES openblas openblas-serial blis)
find_library(CBLAS_LIBRARY NAMES openblas cblas blis mkl_rt HINTS ${PC_CBLAS_LIBRARY_DIRS} PATH_SUFFIXES openblas-serial)
mark_as_advanced(CBLAS_INCLUDE_DIR CBLAS_LIBRARY)
find_package_handle_standard_args(
  CBLAS
  REQUIRED_VARS CBLAS_LIBRARY CBLAS_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install libopenblas-serial-dev, load your site's OpenBLAS module, or set CMAKE_PREFIX_PATH")
if(CBLAS_FOUND AND NOT TARGET CBLAS::CBLAS)
  add_library(CBLAS::CBLAS UNKNOWN IMPORTED)
  set_target_properties(CBLAS::CBLAS PROPERTIES IMPORTED_LOCATION ${CBLAS_LIBRARY}
                                                INTERFACE_INCLUDE_DIRECTORIES ${CBLAS_INCLUDE_DIR})
endif()
