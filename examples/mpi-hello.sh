#!/bin/bash
# Each rank of an MPI job says where it runs: on a processor of one of the job's virtual machines.
#   vsub --local -vm vms_per_node=2,vcpus=1 examples/mpi-hello.sh
#PBS -N mpi-hello
#PBS -l walltime=0:10:00
mpirun sh -c 'echo "rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE on $(uname -n)"'
