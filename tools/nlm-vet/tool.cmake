# libnlm runs it, nobody else: it stands beside the plugins, where libnlm looks for both. It starts fast where it loads
# nothing that it does not use.
set_target_properties(nlm-vet PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${NLM_PLUGIN_DIRECTORY} INSTALL_RPATH "")
target_link_options(nlm-vet PRIVATE -Wl,--as-needed)
set(tool_destination ${CMAKE_INSTALL_LIBDIR}/nlm)
