# CuDNN_INCLUDE_DIR and CuDNN_LIBRARY: NVIDIA's library of neural network primitives, its graph API (version 9).
# SPDX-License-Identifier: Apache-2.0
include(${CMAKE_CURRENT_LIST_DIR}/NvidiaLibrary.cmake)
annulus_nvidia_library(CuDNN HEADER cudnn_graph.h LIBRARY cudnn MAJORS 9 VERSION_HEADER cudnn_version.h
                       VERSION_PREFIX CUDNN_ VERSION_PARTS MAJOR MINOR PATCHLEVEL)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CuDNN REQUIRED_VARS CuDNN_LIBRARY CuDNN_INCLUDE_DIR VERSION_VAR CuDNN_VERSION)
