# What `cmake --install` leaves behind: the libraries, the headers, and a package for find_package(Annulus CONFIG).
# SPDX-License-Identifier: Apache-2.0

include(CMakePackageConfigHelpers)
set(annulus_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Annulus)

set_target_properties(annulus_kernels PROPERTIES EXPORT_NAME kernels)
set_target_properties(annulus_runtime PROPERTIES EXPORT_NAME annulus)
install(TARGETS annulus_kernels annulus_runtime EXPORT AnnulusTargets)
install(EXPORT AnnulusTargets NAMESPACE annulus:: DESTINATION ${annulus_package_dir})

# The headers include each other by their path from the root, so the tree is kept below include/annulus.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/runtime ${PROJECT_SOURCE_DIR}/kernels
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/annulus
        FILES_MATCHING PATTERN "*.hpp" PATTERN "*.inl.hpp" EXCLUDE
        PATTERN runtime/checkpoint EXCLUDE PATTERN runtime/stack EXCLUDE
        PATTERN kernels/cuda EXCLUDE PATTERN kernels/reference EXCLUDE PATTERN kernels/simd EXCLUDE)
install(FILES ${PROJECT_SOURCE_DIR}/runtime/checkpoint/checkpoint.hpp
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/annulus/runtime/checkpoint)
install(DIRECTORY ${PROJECT_BINARY_DIR}/include/annulus DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/AnnulusConfig.cmake.in ${PROJECT_BINARY_DIR}/AnnulusConfig.cmake
                              INSTALL_DESTINATION ${annulus_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/AnnulusConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/AnnulusConfig.cmake ${PROJECT_BINARY_DIR}/AnnulusConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/cmake/FindCBLAS.cmake ${PROJECT_SOURCE_DIR}/cmake/FindParallelHDF5.cmake
              ${PROJECT_SOURCE_DIR}/cmake/FindXxHash.cmake
        DESTINATION ${annulus_package_dir})
