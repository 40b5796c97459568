
/*
 * rtbus_utf8 says what the plain decoder says, wherever the text is cut, and
 * of each character in it.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_utf8.h"
#include "../unit/utf8_plain.h"


#define FUZZ_CUTS  256


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
judge(uint32_t state, plain_e expected)
{
    plain_e  got;

    got = state == RTBUS_UTF8_ACCEPT
          ? PLAIN_WHOLE
          : state == RTBUS_UTF8_REJECT ? PLAIN_BAD : PLAIN_PART;

    if (got != expected) {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t    i, n, step, used;
    plain_e   expected;
    uint32_t  state;

    expected = plain_check(data, size);

    judge(rtbus_utf8_check(RTBUS_UTF8_ACCEPT, data, size), expected);

    for (i = 0; i < size; i++) {
        n = (plain_char(data + i, size - i, &used) == PLAIN_WHOLE) ? used : 0;

        if (rtbus_utf8_character(data + i, data + size) != n) {
            abort();
        }
    }

    for (i = 0; i <= size && i <= FUZZ_CUTS; i++) {
        state = rtbus_utf8_check(RTBUS_UTF8_ACCEPT, data, i);
        judge(state, plain_check(data, i));
        judge(rtbus_utf8_check(state, data + i, size - i), expected);
    }

    for (step = 1; step <= 31; step++) {
        state = RTBUS_UTF8_ACCEPT;

        for (i = 0; i < size; i += n) {
            n = size - i < step ? size - i : step;
            state = rtbus_utf8_check(state, data + i, n);
        }

        judge(state, expected);
    }

    return 0;
}
