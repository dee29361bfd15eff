/* What a device measures of itself, for reports. */
#ifndef NLM_TOOLS_METERS_H
#define NLM_TOOLS_METERS_H

#include <nlm/nlm.h>
#include "common/json.h"

/* Reads them; a device that does not measure leaves .known 0. */
nlm_device_metrics meters_read(const nlm_engine *engine);
/* "41 C, 70.5 W, 1.0 of 1024.0 MiB in use" on a line after `label`; nothing where nothing is known. */
void meters_print(FILE *file, const char *label, const nlm_device_metrics *m);
/* Adds the object "device_metrics", of what is known; nothing where nothing is. */
void meters_json(const nlm_device_metrics *m, nlm_json *json);

#endif
