# Faults of the server beyond those that the machine's own `nfs-fault` knows; bench/faults/export.py says what each does.
case "$1" in
    withdraw) exportfs -ua && exportfs -f ;;
    *) exec nfs-fault "$@" ;;
esac
