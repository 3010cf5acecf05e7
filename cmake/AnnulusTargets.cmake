# The floors as targets. Each room's CMakeLists.txt adds its sources to the floor that it stands on.
# SPDX-License-Identifier: Apache-2.0

# Linked PRIVATE by every target of this project, so that no warning flag reaches a user of the library.
add_library(annulus_warnings INTERFACE)
target_compile_options(annulus_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wundef)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # False alarms at -O3: bug 105651 about "a" + std::string, and vectors inside aggregates that are moved from.
  target_compile_options(annulus_warnings INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
endif()

# annulus_floor(<target>): what the libraries have in common.
function(annulus_floor target)
  add_library(${target})
  string(REPLACE annulus_ "" floor ${target})
  add_library(annulus::${floor} ALIAS ${target})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(
    ${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>
                     $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
                     $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/annulus>)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:annulus_warnings>)
  set_target_properties(
    ${target}
    PROPERTIES POSITION_INDEPENDENT_CODE ON
               VERSION ${PROJECT_VERSION}
               SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}) # 0.x: any minor version may break
endfunction()

annulus_floor(annulus_kernels)
target_link_libraries(annulus_kernels PRIVATE Threads::Threads)

annulus_floor(annulus_runtime)
target_compile_definitions(annulus_runtime PUBLIC OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
target_link_libraries(
  annulus_runtime
  PUBLIC annulus_kernels MPI::MPI_C
  PRIVATE ParallelHDF5::ParallelHDF5 CBLAS::CBLAS XxHash::XxHash fmt::fmt Threads::Threads
          $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)
add_library(annulus::annulus ALIAS annulus_runtime)

# `#include <annulus/annulus.hpp>` works the same in the build tree and when installed.
configure_file(${PROJECT_SOURCE_DIR}/cmake/annulus.hpp.in ${PROJECT_BINARY_DIR}/include/annulus/annulus.hpp @ONLY)
configure_file(${PROJECT_SOURCE_DIR}/cmake/version.hpp.in ${PROJECT_BINARY_DIR}/include/annulus/version.hpp @ONLY)
