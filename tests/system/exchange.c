/* SPDX-License-Identifier: Apache-2.0 */
/* tests/system/exchange.c - an MPI program: each rank sends to the next and checks what it gets, COUNT times, from 1 byte to 4 MiB. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZES 23 /* powers of two */

static unsigned char value(int rank, int round, int at)
{
    return (unsigned char)(rank * 31 + round * 7 + at * 13);
}

int main(int argc, char **argv)
{
    int rank, ranks, wrong = 0, all_wrong, count = argc > 1 ? atoi(argv[1]) : 1000;
    unsigned char *out = malloc(1 << SIZES), *in = malloc(1 << SIZES);
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (int round = 0; round < count; round++) {
        int size = 1 << round % SIZES, next = (rank + 1) % ranks, last = (rank + ranks - 1) % ranks;
        for (int i = 0; i < size; i++)
            out[i] = value(rank, round, i);
        MPI_Sendrecv(out, size, MPI_BYTE, next, round, in, size, MPI_BYTE, last, round, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        for (int i = 0; i < size; i++)
            wrong += in[i] != value(last, round, i);
    }
    MPI_Allreduce(&wrong, &all_wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0)
        printf("%d ranks, %d exchanges, %d bytes wrong\n", ranks, count, all_wrong);
    MPI_Finalize();
    return all_wrong != 0;
}
