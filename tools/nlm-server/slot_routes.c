/* GET /slots, and POST /slots/N?action=save|restore|erase. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "nlm-server/json_in.h"
#include "nlm-server/json_out.h"
#include "nlm-server/routes.h"

void slots_list(server *s, http_exchange *x) {
    nlm_str out = {0};
    const uint32_t capacity = (uint32_t)s->set->slots;
    slot_info *slots = calloc(capacity, sizeof *slots);
    if (!slots) {
        api_fail(s, x, 503, NULL, "no memory for the answer");
        return;
    }
    const uint32_t n = scheduler_slots(s->sched, slots, capacity);
    json_out j = json_begin(&out);
    json_array(&j, NULL);
    for (uint32_t i = 0; i < n; i++) {
        json_object(&j, NULL);
        json_u64(&j, "id", i);
        json_bool(&j, "is_processing", slots[i].is_busy);
        json_u64(&j, "n_ctx", s->info.context_length);
        json_u64(&j, "n_tokens", slots[i].n_tokens);
        json_u64(&j, "n_prompt", slots[i].n_prompt);
        json_u64(&j, "n_generated", slots[i].n_generated);
        json_end_object(&j);
    }
    json_end_array(&j);
    free(slots);
    api_reply_json(s, x, 200, &out);
    nlm_str_release(&out);
}

typedef struct change {
    server *s;
    http_exchange *x; /* NULL: its client has gone */
    uint32_t slot;
    const char *action;
} change;

static void forget_client(void *user) {
    change *c = user;
    c->x = NULL;
}

static void done(void *user, nlm_status status, uint64_t n_tokens, const char *message) {
    change *c = user;
    server *s = c->s;
    nlm_str out = {0};
    if (c->x) http_on_close(c->x, NULL, NULL);
    if (c->x && status != NLM_OK) {
        api_fail(s, c->x, status == NLM_INVALID_ARGUMENT ? 409 : api_status_of(status), NULL, message);
    } else if (c->x) {
        json_out j = json_begin(&out);
        json_object(&j, NULL);
        json_u64(&j, "id_slot", c->slot);
        json_string(&j, "action", c->action);
        json_u64(&j, "n_tokens", n_tokens);
        json_end_object(&j);
        api_reply_json(s, c->x, 200, &out);
    }
    nlm_str_release(&out);
    free(c);
    s->calls--;
    server_check_drained(s);
}

/* A name of a file in the folder, not a way out of it. */
static bool is_file_name(const char *name) {
    const size_t length = strlen(name);
    return length > 0 && length < 200 && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

static nlm_status file_path(const server *s, http_exchange *x, char *path, size_t size, nlm_error *err) {
    cJSON *body = NULL;
    const char *name = NULL;
    size_t length;
    const char *text = http_body(x, &length);
    if (!s->set->slot_folder) {
        return nlm_fail(err, NLM_INVALID_ARGUMENT, "action", "server.slot_folder, where slots are kept, is not set");
    }
    NLM_TRY(json_parse(text, length, &body, err));
    nlm_status status = json_get_string(body, "filename", &name, err);
    if (status == NLM_OK && (!name || !is_file_name(name))) {
        status = nlm_fail(err, NLM_INVALID_ARGUMENT, "filename",
                          "'filename' has to be a name of letters, digits, '.', '_' and '-' that begins with none of "
                          "the dots");
    }
    if (status == NLM_OK && (size_t)snprintf(path, size, "%s/%s", s->set->slot_folder, name) >= size) {
        status = nlm_fail(err, NLM_INVALID_ARGUMENT, "filename", "the path is too long");
    }
    cJSON_Delete(body);
    return status;
}

static nlm_status begin(server *s, http_exchange *x, nlm_error *err) {
    static const char *const names[] = {"save", "restore", "erase"};
    const http_head *head = http_request(x);
    char *end = NULL, path[4096];
    const unsigned long slot = strtoul(head->path + strlen("/slots/"), &end, 10);
    if (!strchr("0123456789", head->path[7]) || *end || slot > UINT32_MAX) {
        return nlm_fail(err, NLM_NOT_FOUND, "slots", "a slot is a number");
    }
    uint32_t action = 0;
    for (uint32_t i = 0; i < 3; i++) {
        if (strncmp(head->query, "action=", 7) == 0 && strcmp(head->query + 7, names[i]) == 0) action = i + 1;
    }
    if (!action) return nlm_fail(err, NLM_INVALID_ARGUMENT, "action", "the query is action=save, restore or erase");
    if (action != SLOT_ERASE) NLM_TRY(file_path(s, x, path, sizeof path, err));
    change *c = calloc(1, sizeof *c);
    if (!c) return nlm_fail(err, NLM_OUT_OF_MEMORY, "slots", "no memory");
    *c = (change){s, x, (uint32_t)slot, names[action - 1]};
    const nlm_status status =
        scheduler_slot(s->sched, (uint32_t)slot, action, action == SLOT_ERASE ? NULL : path, done, c, err);
    if (status != NLM_OK) {
        free(c);
        return status;
    }
    s->calls++;
    http_on_close(x, forget_client, c);
    return NLM_OK;
}

void slots_change(server *s, http_exchange *x) {
    nlm_error err = NLM_ERROR_INIT;
    if (begin(s, x, &err) != NLM_OK) api_fail_with(s, x, &err);
}
