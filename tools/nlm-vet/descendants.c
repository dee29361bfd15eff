/* Finds the children of this process in /proc, the adopted ones as well, and ends them. */
#include "descendants.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* /proc/ID/stat is "ID (NAME) STATE PARENT ...", and NAME may hold anything. */
static bool is_child(pid_t id, bool *out_is_alive) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", id);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    const size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *end = strrchr(text, ')');
    char state;
    int parent;
    if (!end || sscanf(end + 1, " %c %d", &state, &parent) != 2) return false;
    *out_is_alive = state != 'Z' && state != 'X';
    return parent == getpid();
}

/* One child, if there is any; 0 if not. */
static pid_t find_child(bool *out_is_alive) {
    DIR *list = opendir("/proc");
    if (!list) return 0;
    pid_t found = 0;
    for (const struct dirent *entry; !found && (entry = readdir(list));) {
        const pid_t id = atoi(entry->d_name);
        if (id > 0 && is_child(id, out_is_alive)) found = id;
    }
    closedir(list);
    return found;
}

size_t end_descendants(void) {
    size_t count = 0;
    bool is_alive;
    for (pid_t child; (child = find_child(&is_alive)) > 0;) {
        count += is_alive;
        kill(child, SIGKILL);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
    }
    return count;
}
