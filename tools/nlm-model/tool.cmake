# tokenizer_config.json; and perplexities as nlm-eval has them.
target_link_libraries(nlm-model PRIVATE PkgConfig::CJSON)
target_sources(nlm-model PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/nlm-eval/eval.c)
