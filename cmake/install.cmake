# `cmake --install` and find_package(Tenon): Tenon::tenon builds and runs models, Tenon::tenon_runtime only runs engines,
# Tenon::plugin is for libraries of operators.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
add_library(tenon_plugin INTERFACE)  # what a library of operators needs: headers
set_target_properties(tenon_plugin PROPERTIES EXPORT_NAME plugin)
target_include_directories(tenon_plugin INTERFACE $<INSTALL_INTERFACE:include>)
install(TARGETS tenon_runtime tenon tenon_plugin EXPORT TenonTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/tenon DESTINATION include)
install(EXPORT TenonTargets NAMESPACE Tenon:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Tenon)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/TenonConfig.cmake.in ${PROJECT_BINARY_DIR}/TenonConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Tenon)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/TenonConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/TenonConfig.cmake ${PROJECT_BINARY_DIR}/TenonConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Tenon)
