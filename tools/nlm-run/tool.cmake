# /load reads what /save wrote; libedit edits the lines of a chat, which are read as they are without it.
target_link_libraries(nlm-run PRIVATE PkgConfig::CJSON)
if(LIBEDIT_FOUND)
    target_link_libraries(nlm-run PRIVATE PkgConfig::LIBEDIT)
    target_compile_definitions(nlm-run PRIVATE NLM_HAS_LIBEDIT)
endif()
