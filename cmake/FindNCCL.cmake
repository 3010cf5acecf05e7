# NCCL_INCLUDE_DIR and NCCL_LIBRARY: NVIDIA's messages between GPUs.
# SPDX-License-Identifier: Apache-2.0
include(${CMAKE_CURRENT_LIST_DIR}/NvidiaLibrary.cmake)
annulus_nvidia_library(NCCL HEADER nccl.h LIBRARY nccl MAJORS 2 VERSION_HEADER nccl.h VERSION_PREFIX NCCL_
                       VERSION_PARTS MAJOR MINOR PATCH)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL REQUIRED_VARS NCCL_LIBRARY NCCL_INCLUDE_DIR VERSION_VAR NCCL_VERSION)
