# Everything comes from the distribution, found with pkg-config.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    pkg_check_modules(LIBCPUID REQUIRED IMPORTED_TARGET libcpuid)
    set(NLM_CPUID PkgConfig::LIBCPUID) # knows x86 alone
endif()
pkg_check_modules(TOMLPLUSPLUS REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(CJSON REQUIRED IMPORTED_TARGET libcjson)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(LIBEDIT IMPORTED_TARGET libedit) # nlm-run's chat reads plain lines without it
pkg_check_modules(LIBEVENT IMPORTED_TARGET libevent_core libevent_openssl openssl) # nlm-server is not built without it
if(NLM_TESTS)
    pkg_check_modules(CUNIT REQUIRED IMPORTED_TARGET cunit)
endif()
