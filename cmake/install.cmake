# cmake --install gives a tree that works wherever it is moved to: programs and plugins find each other
# by relative paths, nlm.pc and the CMake package find the headers and the library so too.
include(CMakePackageConfigHelpers)

install(TARGETS nlm nlm_plugin EXPORT nlmTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY core/include/nlm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES plugins.toml DESTINATION ${CMAKE_INSTALL_LIBDIR}/nlm)
# Beside each other as in the source tree, so that their links hold.
install(FILES LICENSE README.md CONTRIBUTING.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md" PATTERN "*.png")
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN "build" EXCLUDE PATTERN "__pycache__" EXCLUDE)

# What a backend's author starts from. The program looks for the skeleton in ../share.
install(PROGRAMS tools/new-backend DESTINATION ${CMAKE_INSTALL_BINDIR} RENAME nlm-new-backend)
install(DIRECTORY tools/backend-skeleton DESTINATION share/nlm)

set(package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/nlm)
install(EXPORT nlmTargets NAMESPACE nlm:: DESTINATION ${package_directory})
file(WRITE ${PROJECT_BINARY_DIR}/nlmConfig.cmake "include(\${CMAKE_CURRENT_LIST_DIR}/nlmTargets.cmake)\n")
write_basic_package_version_file(${PROJECT_BINARY_DIR}/nlmConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/nlmConfig.cmake ${PROJECT_BINARY_DIR}/nlmConfigVersion.cmake
    DESTINATION ${package_directory})

set(pkgconfig_directory ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH prefix_from_pkgconfig ${pkgconfig_directory} ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" prefix_from_pkgconfig ${prefix_from_pkgconfig})
configure_file(cmake/nlm.pc.in ${PROJECT_BINARY_DIR}/nlm.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/nlm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
