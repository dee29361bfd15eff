# nlm_compile: the flags of every target of the project.
add_library(nlm_compile INTERFACE)
target_compile_definitions(nlm_compile INTERFACE _GNU_SOURCE)
target_compile_options(nlm_compile INTERFACE -Wall -Wextra -Wconversion -fno-math-errno)
if(NLM_WERROR AND NLM_SANITIZE STREQUAL "") # GCC warns about code the sanitizers put in
    target_compile_options(nlm_compile INTERFACE -Werror)
endif()
if(NLM_SANITIZE STREQUAL "address")
    set(sanitize -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
elseif(NLM_SANITIZE STREQUAL "thread")
    set(sanitize -fsanitize=thread -fno-omit-frame-pointer)
elseif(NOT NLM_SANITIZE STREQUAL "")
    message(FATAL_ERROR "NLM_SANITIZE is '${NLM_SANITIZE}'; expected address, thread or nothing")
endif()
if(NLM_FUZZ)
    list(APPEND sanitize -fsanitize=fuzzer-no-link)
endif()
if(sanitize)
    target_compile_options(nlm_compile INTERFACE ${sanitize})
    target_link_options(nlm_compile INTERFACE ${sanitize})
endif()

# Of shared objects: what they use and do not define is an error, but the sanitizers' own symbols are
# the program's.
set(NLM_NO_UNDEFINED "")
if(NOT sanitize)
    set(NLM_NO_UNDEFINED -Wl,-z,defs)
endif()
