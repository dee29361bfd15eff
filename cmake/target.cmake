# What is built for: files and packed weights are little-endian and are mapped whole.
if(NOT CMAKE_SIZEOF_VOID_P EQUAL 8)
    math(EXPR bits "8 * ${CMAKE_SIZEOF_VOID_P}")
    message(FATAL_ERROR "nlm needs a 64-bit target; ${CMAKE_SYSTEM_PROCESSOR} here has ${bits} bits")
endif()
if(NOT CMAKE_C_BYTE_ORDER STREQUAL "LITTLE_ENDIAN")
    message(FATAL_ERROR "nlm needs a little-endian target; ${CMAKE_SYSTEM_PROCESSOR} here is big-endian")
endif()
