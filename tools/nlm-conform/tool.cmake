# The cases and their float64 reference are part of the program: a backend author has no source tree.
file(GLOB conform_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/oracle/*.c ${PROJECT_SOURCE_DIR}/tests/specs/*.c)
target_sources(nlm-conform PRIVATE ${conform_sources})
target_include_directories(nlm-conform PRIVATE ${PROJECT_SOURCE_DIR}/tests)
if(NLM_SANITIZE STREQUAL "thread") # one thread runs them, and watched they take five times as long as all the rest
    set_source_files_properties(${conform_sources} PROPERTIES COMPILE_OPTIONS -fno-sanitize=thread)
endif()

# The models it runs stand in the tree that the program is part of.
set(conform_models llama-gqa-f32 llama-window-bf16 llama-freqs-f32 llama-biases-f16 llama-q4_0 llama-q8_0 llama-mixed
    qwen2-f32 qwen3-f32 granite-f32 mamba-f32 mamba-odd-f32 mamba-normed-f32 mamba-mixed)
foreach(model ${conform_models})
    foreach(suffix gguf npy txt)
        set(fixture ${PROJECT_SOURCE_DIR}/tests/data/models/${model}.${suffix})
        configure_file(${fixture} ${PROJECT_BINARY_DIR}/share/nlm/conform/${model}.${suffix} COPYONLY)
        install(FILES ${fixture} DESTINATION ${CMAKE_INSTALL_DATADIR}/nlm/conform)
    endforeach()
endforeach()
