#!/usr/bin/env bash
# yajl 2.1.0 (Debian 12, 2.1.0-3+deb12u2): text that was cut between the two
# halves of a UTF-16 pair is decoded to other characters, or to bytes that are
# no UTF-8.
#
# RFC 8259, 8.2: such a string is within the grammar, what a reader makes of it is
# not defined.  Expected: U+FFFD, the half itself, or an error; and of valid UTF-8
# in, valid UTF-8 out.  Node's JSON.parse and Python's json keep the half.
#
# Seen, with the check of UTF-8 on (the default):
#
#     "\ud83d" alone, or before plain text   a question mark
#     "\ud83d" before another escape         one character made of the two, which
#                                            stands nowhere in the text
#     "\ude00" alone                         ED B8 80, which is no UTF-8
#
# Who meets it: readers of a model's answer.  Servers that count in UTF-16 cut an
# emoji in two deltas; what yajl made of the second half is then refused by
# the next thing that wants UTF-8, and the emoji cannot be put together again.
#
# Run 2026-11-30.  Exits with 0 while the behaviour is as above.

set -eu

version=2.1.0-3+deb12u2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

apt-get download -q libyajl2=$version libyajl-dev=$version > /dev/null 2>&1
for deb in *.deb; do dpkg -x "$deb" .; done

cat > try.c <<'C'
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_parse.h>

static char seen[64];

static int
string(void *ctx, const unsigned char *s, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        sprintf(seen + 3 * i, "%02X ", s[i]);
    }

    return 1;
}

int
main(void)
{
    static const char *texts[][2] = {
        { "\"\\ud83d\\ude00\"", "F0 9F 98 80 " },
        { "\"\\ud83d\"", "3F " },
        { "\"\\ud83dX\"", "3F 58 " },
        { "\"\\ud83d\\u0041\"", "F0 9F 91 81 " },
        { "\"\\ude00\"", "ED B8 80 " },
    };

    int changed = 0;
    yajl_handle h;
    yajl_callbacks callbacks = { .yajl_string = string };

    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const unsigned char *text = (const unsigned char *) texts[i][0];

        strcpy(seen, "(nothing)");
        h = yajl_alloc(&callbacks, NULL, NULL);

        if (yajl_parse(h, text, strlen(texts[i][0])) != yajl_status_ok
            || yajl_complete_parse(h) != yajl_status_ok)
        {
            strcpy(seen, "(error)");
        }

        yajl_free(h);
        printf("%s: %s\n", texts[i][0], seen);

        if (strcmp(seen, texts[i][1]) != 0) {
            printf("  changed: it was %s\n", texts[i][1]);
            changed = 1;
        }
    }

    return changed;
}
C

lib=$(dirname "$(find usr/lib -name 'libyajl.so' | head -n 1)")
cc -o try try.c -Iusr/include -L"$lib" -lyajl
LD_LIBRARY_PATH="$lib" ./try
