# What `cmake --install` lays down besides the program: headers, libraries, the CMake package `quire`
# and the bundled models.  The package is usable from the build folder too: quire_DIR=build/release.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/quire)

# quire::quire is what a program links; the layers come with it.
add_library(quire_cpp INTERFACE)
target_link_libraries(quire_cpp INTERFACE quire_engine)
set_target_properties(quire_cpp PROPERTIES EXPORT_NAME quire)
set(targets quire_cpp quire_api)
foreach(layer ${QUIRE_LIBRARY_LAYERS})
  list(APPEND targets quire_${layer})
endforeach()
install(TARGETS ${targets} EXPORT quireTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(EXPORT quireTargets NAMESPACE quire::
  DESTINATION ${package_directory} COMPONENT development)
export(EXPORT quireTargets NAMESPACE quire:: FILE ${PROJECT_BINARY_DIR}/quireTargets.cmake)

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/quireConfig.cmake.in
  ${PROJECT_BINARY_DIR}/quireConfig.cmake INSTALL_DESTINATION ${package_directory})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/quireConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/quireConfig.cmake ${PROJECT_BINARY_DIR}/quireConfigVersion.cmake
  DESTINATION ${package_directory} COMPONENT development)
install(DIRECTORY include/quire DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
  FILES_MATCHING PATTERN *.h)

install(DIRECTORY models DESTINATION ${CMAKE_INSTALL_DATADIR}/quire)
