/* Just enough JSON for the examples to print results and to take a member out. A program of yours has a JSON library. */
#ifndef READABLE_H
#define READABLE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void print_indent(int depth) {
    printf("\n%*s", 4 + 2 * depth, "");
}

/* Prints JSON with an indented line for each member. */
static inline void print_json(const char *json) {
    int depth = 0, in_string = 0;
    printf("    ");
    for (const char *at = json; *at; at++) {
        if (in_string) {
            putchar(*at);
            if (*at == '\\' && at[1]) putchar(*++at);
            else if (*at == '"') in_string = 0;
        } else if (*at == '{' || *at == '[') {
            putchar(*at);
            if (at[1] == '}' || at[1] == ']') putchar(*++at);
            else print_indent(++depth);
        } else if (*at == '}' || *at == ']') {
            print_indent(--depth);
            putchar(*at);
        } else if (*at == ',') {
            putchar(*at);
            print_indent(depth);
        } else if (*at == ':') {
            printf(": ");
        } else if (*at != ' ' && *at != '\n') {
            putchar(*at);
            in_string = *at == '"';
        }
    }
    putchar('\n');
}

/* The string member `name` of a JSON object, at whatever depth it comes first, as it is written; "" if there is none. Free it. */
static inline char *take_string(const char *json, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *start = json ? strstr(json, key) : NULL;
    start = start ? start + strlen(key) : "\"";
    size_t length = strcspn(start, "\"");
    char *text = malloc(length + 1);
    if (!text) abort();
    memcpy(text, start, length);
    text[length] = '\0';
    return text;
}

#endif
