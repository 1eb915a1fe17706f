#!/bin/sh
#PBS -N hello
#PBS -l nodes=1:ppn=1,walltime=00:05:00
# An ordinary job script: nothing in it knows of a virtual machine.

echo "Hello from $(uname -n), Linux $(uname -r)"
echo "I am $(id -un), in $PWD, job $PBS_JOBID"
echo "This machine has $(nproc) CPU and $(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo) MiB of memory"
