/* Files of this folder that are compiled in (tool.cmake). */
#ifndef NLM_SERVER_EMBEDDED_H
#define NLM_SERVER_EMBEDDED_H

#include <stddef.h>

extern const unsigned char embedded_page[];
extern const size_t embedded_page_size;
extern const unsigned char embedded_openapi[];
extern const size_t embedded_openapi_size;

#endif
