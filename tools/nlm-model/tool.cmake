# tokenizer_config.json
target_link_libraries(nlm-model PRIVATE PkgConfig::CJSON)
