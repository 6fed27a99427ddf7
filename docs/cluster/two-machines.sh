#!/bin/bash
# A run across two machines that are network namespaces of this one, over TCP; then one whose link is cut in the middle.
#   docs/cluster/two-machines.sh          PALESTRA=target/release/palestra, a program with MPI
# Needs root, ip, unshare and Open MPI. Checks that the whole run ends with the checkpoint of one on one machine, and that after
# the cut an error names the rank and the machine that are gone, within 10 s after the deadline.
set -euo pipefail
program=$(realpath "${PALESTRA:-target/release/palestra}")
deadline=${DEADLINE:-5}
folder=$(mktemp -d)
here=palestra-1 there=palestra-2
clean() {
    ip netns del $here 2> /dev/null || true
    ip netns del $there 2> /dev/null || true
    rm -rf "$folder"
}
trap clean EXIT

for machine in $here $there; do
    ip netns add "$machine"
    ip -n "$machine" link set lo up
done
ip link add veth-1 netns $here type veth peer name veth-2 netns $there
ip -n $here addr add 10.77.0.1/24 dev veth-1
ip -n $there addr add 10.77.0.2/24 dev veth-2
ip -n $here link set veth-1 up
ip -n $there link set veth-2 up

# mpirun starts its daemon on the other machine by this in place of ssh: AGENT HOST COMMAND.
cat > "$folder/agent" << AGENT
#!/bin/bash
shift
exec ip netns exec $there unshare --uts /bin/bash -c "hostname machine-2; \$*"
AGENT
chmod +x "$folder/agent"
for day in $(seq 100 180); do echo "On day $day the fox met the hen; all was well."; done > "$folder/tale.txt"
cat > "$folder/run.toml" << RUN
name = "tale"
seed = 5
[text]
files = ["tale.txt"]
batch = 4
[model]
context = 16
layers = 1
width = 16
heads = 2
[train]
updates = 20
checkpoint_every = 5
threads = 1
deadline = $deadline.0
RUN

# The ranks of a run on both machines: OUT OPTIONS ...
two() {
    local out=$1
    shift
    cd "$folder"
    exec ip netns exec $here unshare --uts /bin/bash -c 'hostname machine-1; exec "$@"' - \
        mpirun --allow-run-as-root --bind-to none --host 10.77.0.1:1,10.77.0.2:1 --map-by node \
        --mca plm_rsh_agent "$folder/agent" --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 \
        --mca oob_tcp_if_include 10.77.0.0/24 --mca pml ob1 --mca oob_tcp_keepalive_time 2 \
        --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 2 \
        "$program" train run.toml --quiet --out "$out" "$@"
}

(two both)
(cd "$folder" && mpirun --allow-run-as-root --oversubscribe --bind-to none -n 2 "$program" train run.toml --quiet --out one)
for file in model optimizer; do
    cmp "$folder"/{both,one}/checkpoints/step-00000020/$file.safetensors
done
echo "two machines: the checkpoint of one machine, to the byte"

(two cut --set train.updates=1000000) > "$folder/told" 2>&1 &
run=$!
until [ -s "$folder/cut/metrics.jsonl" ] && [ "$(wc -l < "$folder/cut/metrics.jsonl")" -ge 20 ]; do
    kill -0 $run || { cat "$folder/told"; exit 1; }
    sleep 0.1
done
ip -n $there link set veth-2 down
began=$(date +%s%N)
if wait $run; then echo "the run ended without an error" && exit 1; fi
milliseconds=$((($(date +%s%N) - began) / 1000000))
cat "$folder/told"
grep -q "no answer for $deadline s from rank 1 on machine-2" "$folder/told"
[ $milliseconds -le $((deadline * 1000 + 10000)) ]
echo "link cut: the error names rank 1 on machine-2; all was over after $milliseconds ms, with a deadline of $deadline s"
