# Writes OUT, a C source with the bytes of PAGE and OPENAPI.
function(append_array name file)
    file(READ ${file} hex HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "((0x..,){20})" "\\1\n    " bytes "${bytes}")
    file(APPEND ${OUT} "const unsigned char embedded_${name}[] = {\n    ${bytes}};\n"
        "const size_t embedded_${name}_size = sizeof embedded_${name};\n")
endfunction()

file(WRITE ${OUT} "/* Made of page.html and openapi.json by embed.cmake. */\n#include \"nlm-server/embedded.h\"\n\n")
append_array(page ${PAGE})
append_array(openapi ${OPENAPI})
