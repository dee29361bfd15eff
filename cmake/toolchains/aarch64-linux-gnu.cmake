# Debian's cross compiler and its arm64 libraries (dpkg --add-architecture arm64), with qemu-user to run what
# was built: tools/check-aarch64 installs them.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(triplet aarch64-linux-gnu)

set(CMAKE_C_COMPILER ${triplet}-gcc)
set(CMAKE_CXX_COMPILER ${triplet}-g++)
set(CMAKE_LIBRARY_ARCHITECTURE ${triplet})

# Programs are this machine's; libraries and what pkg-config says of them are the target's.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/${triplet}/pkgconfig:/usr/share/pkgconfig)
set(ENV{PKG_CONFIG_PATH} "")

# Without -L: the loader of the cross compiler's C library does not fit the arm64 C library, which the other
# libraries bring along.
find_program(qemu NAMES qemu-aarch64 qemu-aarch64-static NO_CACHE)
if(qemu)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${qemu})
endif()
