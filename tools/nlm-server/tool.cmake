# The network and TLS are libevent's; requests are JSON. page.html and openapi.json are compiled in, as arrays.
target_link_libraries(nlm-server PRIVATE PkgConfig::CJSON PkgConfig::LIBEVENT)
set(embedded ${CMAKE_CURRENT_BINARY_DIR}/nlm-server-embedded.c)
add_custom_command(OUTPUT ${embedded}
    COMMAND ${CMAKE_COMMAND} -DOUT=${embedded} -DPAGE=${directory}/page.html -DOPENAPI=${directory}/openapi.json
        -P ${directory}/embed.cmake
    DEPENDS ${directory}/page.html ${directory}/openapi.json ${directory}/embed.cmake)
target_sources(nlm-server PRIVATE ${embedded})
