# Faults of the server beyond those that the machine's own `nfs-fault` knows; bench/faults/export.py says what each does.
case "$1" in
    withdraw)
        # Another export stays: to a client without any the server says "permission denied", and not "stale".
        exportfs -ua && exportfs -i -o ro,fsid=99,insecure,no_subtree_check '*:/dev/shm' && exportfs -f
        ;;
    *) exec nfs-fault "$@" ;;
esac
