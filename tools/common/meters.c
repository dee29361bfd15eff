/* Prints what a device measures of itself. */
#include "common/meters.h"

nlm_device_metrics meters_read(const nlm_engine *engine) {
    nlm_device_metrics m = {.struct_size = sizeof m};
    nlm_error err = NLM_ERROR_INIT;
    if (nlm_engine_device_metrics(engine, &m, &err) != NLM_OK) m = (nlm_device_metrics){0};
    return m;
}

void meters_print(FILE *file, const char *label, const nlm_device_metrics *m) {
    const char *between = "";
    if (!m->known) return;
    fputs(label, file);
    if (m->known & NLM_KNOWN_TEMPERATURE) {
        fprintf(file, "%d C", (int)m->temperature_celsius);
        between = ", ";
    }
    if (m->known & NLM_KNOWN_POWER) {
        fprintf(file, "%s%.1f W", between, m->power_milliwatts / 1e3);
        between = ", ";
    }
    if (m->known & NLM_KNOWN_UTILIZATION) {
        fprintf(file, "%s%u%% busy", between, (unsigned)m->utilization_percent);
        between = ", ";
    }
    if (m->known & NLM_KNOWN_MEMORY) {
        fprintf(file, "%s%.1f of %.1f MiB in use", between, (double)m->memory_used_bytes / (1 << 20),
                (double)m->memory_total_bytes / (1 << 20));
        between = ", ";
    }
    if ((m->known & NLM_KNOWN_ECC) && m->ecc_uncorrected) {
        fprintf(file, "%s%llu memory errors not corrected", between, (unsigned long long)m->ecc_uncorrected);
    }
    fputc('\n', file);
}

void meters_json(const nlm_device_metrics *m, nlm_json *json) {
    const struct {
        uint32_t known;
        const char *key;
        double value;
    } rows[] = {
        {NLM_KNOWN_MEMORY, "memory_used_bytes", (double)m->memory_used_bytes},
        {NLM_KNOWN_MEMORY, "memory_total_bytes", (double)m->memory_total_bytes},
        {NLM_KNOWN_UTILIZATION, "utilization_percent", m->utilization_percent},
        {NLM_KNOWN_MEMORY_UTILIZATION, "memory_utilization_percent", m->memory_utilization_percent},
        {NLM_KNOWN_POWER, "power_watts", m->power_milliwatts / 1e3},
        {NLM_KNOWN_POWER_LIMIT, "power_limit_watts", m->power_limit_milliwatts / 1e3},
        {NLM_KNOWN_CLOCK, "clock_mhz", m->clock_mhz},
        {NLM_KNOWN_MEMORY_CLOCK, "memory_clock_mhz", m->memory_clock_mhz},
        {NLM_KNOWN_TEMPERATURE, "temperature_celsius", m->temperature_celsius},
        {NLM_KNOWN_ECC, "ecc_corrected", (double)m->ecc_corrected},
        {NLM_KNOWN_ECC, "ecc_uncorrected", (double)m->ecc_uncorrected},
    };
    if (!m->known) return;
    nlm_json_begin_object(json, "device_metrics");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (m->known & rows[i].known) nlm_json_f64(json, rows[i].key, rows[i].value);
    }
    nlm_json_end(json);
}
