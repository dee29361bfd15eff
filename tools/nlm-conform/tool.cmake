# The cases and their float64 reference are part of the program: a backend author has no source tree.
file(GLOB conform_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/oracle/*.c ${PROJECT_SOURCE_DIR}/tests/specs/*.c)
target_sources(nlm-conform PRIVATE ${conform_sources})
target_include_directories(nlm-conform PRIVATE ${PROJECT_SOURCE_DIR}/tests)
