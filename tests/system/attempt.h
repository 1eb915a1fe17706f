/* SPDX-License-Identifier: Apache-2.0 */
/* tests/system/attempt.h - one line for each thing that an attacker tried: its name and what came of it. */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <string.h>

static FILE *attempt_log;

static const struct {
    int number;
    const char *name;
} attempt_errors[] = {
#define E(name)                                                                                    \
    {                                                                                              \
        name, #name                                                                                \
    }
    E(EPERM),        E(ENOENT),     E(ESRCH),  E(EIO),    E(EBADF),        E(EACCES),
    E(EBUSY),        E(EEXIST),     E(EXDEV),  E(ENODEV), E(EISDIR),       E(ENOTDIR),
    E(EINVAL),       E(ENOSPC),     E(EROFS),  E(ENOSYS), E(ESTALE),       E(ENODATA),
    E(EFAULT),       E(EOPNOTSUPP), E(ENOTTY), E(ELOOP),  E(EAFNOSUPPORT), E(EPROTONOSUPPORT),
    E(ECONNREFUSED), E(EOVERFLOW),  E(ENXIO),
#undef E
};

static void attempt_tell(const char *name, long result)
{
    int number = errno;
    const char *text = "done";
    char other[32];
    if (result < 0) {
        snprintf(other, sizeof other, "errno-%d", number);
        text = other;
        for (size_t i = 0; i < sizeof attempt_errors / sizeof *attempt_errors; i++)
            if (attempt_errors[i].number == number)
                text = attempt_errors[i].name;
    }
    fprintf(attempt_log, "%s: %s\n", name, text);
    fflush(attempt_log);
}
