/* SPDX-License-Identifier: Apache-2.0 */
/* agent/input.c - a ring between the host's DATA frames and a pipe or terminal. */
#include "agent/input.h"

#include "agent/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <termios.h>

void input_init(Input *input, int fd, bool is_terminal)
{
    input->fd = fd;
    input->start = input->used = 0;
    input->passed = 0;
    input->is_ended = false;
    input->is_terminal = is_terminal;
}

bool input_take(Input *input, const uint8_t *bytes, size_t size)
{
    size_t end = (input->start + input->used) % WIRE_INPUT_WINDOW;
    size_t first = WIRE_INPUT_WINDOW - end;

    if (input->is_ended)
        return true;
    if (size > WIRE_INPUT_WINDOW - input->used - input->passed)
        return false;
    if (input->fd < 0) {
        input->used += size; /* still counted, so that the window holds */
        return true;
    }
    if (first > size)
        first = size;
    memcpy(input->bytes + end, bytes, first);
    memcpy(input->bytes, bytes + first, size - first);
    input->used += size;
    return true;
}

void input_end(Input *input)
{
    input->is_ended = true;
}

bool input_wants_write(const Input *input)
{
    return input->fd >= 0 && (input->used > 0 || input->is_ended);
}

/* Writes once, at most what is there. Returns the count or -errno. */
static ssize_t pass(const Input *input)
{
    size_t first = WIRE_INPUT_WINDOW - input->start;
    struct iovec parts[2];
    ssize_t count;

    if (first > input->used)
        first = input->used;
    parts[0] = (struct iovec){(uint8_t *)input->bytes + input->start, first};
    parts[1] = (struct iovec){(uint8_t *)input->bytes, input->used - first};
    count = writev(input->fd, parts, parts[1].iov_len ? 2 : 1);
    return count < 0 ? -errno : count;
}

/* A pipe is closed; a terminal cannot be half closed, so its end-of-file character is typed. */
static void tell_end(Input *input)
{
    struct termios settings;

    if (input->is_terminal && tcgetattr(input->fd, &settings) == 0 && settings.c_lflag & ICANON &&
        write(input->fd, &settings.c_cc[VEOF], 1) < 0 && errno == EAGAIN)
        return;
    fd_clear(&input->fd);
}

bool input_pump(Input *input)
{
    while (input->fd >= 0 && input->used > 0) {
        ssize_t count = pass(input);

        if (count == -EAGAIN)
            return true;
        if (count == -EINTR)
            continue;
        if (count < 0) {
            fd_clear(&input->fd);
            return false;
        }
        input->start = (input->start + (size_t)count) % WIRE_INPUT_WINDOW;
        input->used -= (size_t)count;
        input->passed += (uint32_t)count;
    }
    if (input->fd >= 0 && input->is_ended)
        tell_end(input);
    return true;
}

uint32_t input_take_credit(Input *input)
{
    uint32_t credit = input->passed;

    if (input->fd < 0 || input->is_ended)
        return 0;
    if (credit < WIRE_INPUT_WINDOW / 2 && (input->used > 0 || credit == 0))
        return 0;
    input->passed = 0;
    return credit;
}

void input_clear(Input *input)
{
    fd_clear(&input->fd);
    madvise(input->bytes, sizeof input->bytes, MADV_DONTNEED);
}
