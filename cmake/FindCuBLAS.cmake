# CuBLAS_INCLUDE_DIR and CuBLAS_LIBRARY: NVIDIA's BLAS, of the major version of the CUDA toolkit that is in use.
# SPDX-License-Identifier: Apache-2.0
include(${CMAKE_CURRENT_LIST_DIR}/NvidiaLibrary.cmake)
annulus_nvidia_library(CuBLAS HEADER cublas_v2.h LIBRARY cublas MAJORS ${CUDAToolkit_VERSION_MAJOR}
                       VERSION_HEADER cublas_api.h VERSION_PREFIX CUBLAS_VER_ VERSION_PARTS MAJOR MINOR PATCH)
set(CuBLAS_FITS TRUE)
if(NOT CuBLAS_VERSION MATCHES "^${CUDAToolkit_VERSION_MAJOR}\\.")
  set(CuBLAS_FITS FALSE) # its headers and the toolkit's would not fit each other
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CuBLAS REQUIRED_VARS CuBLAS_LIBRARY CuBLAS_INCLUDE_DIR CuBLAS_FITS
                                  VERSION_VAR CuBLAS_VERSION)
