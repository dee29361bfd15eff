# The network and TLS are libevent's; requests are JSON.
target_link_libraries(nlm-server PRIVATE PkgConfig::CJSON PkgConfig::LIBEVENT)
