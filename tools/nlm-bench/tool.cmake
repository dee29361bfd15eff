# --compare reads what --json wrote.
target_link_libraries(nlm-bench PRIVATE PkgConfig::CJSON)
