// Command etcdload is the benchmark's load on etcd over gRPC, with etcd's own client: as many connections as asked
// for, each with one request under way. It prints what bench/load/requests.lua prints for wrk.
//
//	etcdload ENDPOINT CONNECTIONS SECONDS WORKLOAD VALUE_BYTES KEYS
//
// WORKLOAD: put, get or mixed (9 reads, 1 write).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

type load struct {
	workload string
	value    string
	keys     int
}

type outcome struct {
	microseconds []int64
	failed       int
}

// run calls again and again until the time is over.
func (l load) run(client *clientv3.Client, until time.Time) outcome {
	var out outcome
	for number := 1; ; number++ {
		begun := time.Now()
		if begun.After(until) {
			return out
		}
		key := fmt.Sprintf("bench/%06d", rand.Intn(l.keys))
		var err error
		if l.workload == "get" || l.workload == "mixed" && number%10 != 0 {
			_, err = client.Get(context.Background(), key)
		} else {
			_, err = client.Put(context.Background(), key, l.value)
		}
		if err != nil {
			out.failed++
			continue
		}
		out.microseconds = append(out.microseconds, time.Since(begun).Microseconds())
	}
}

func number(text string) int {
	found, err := strconv.Atoi(text)
	if err != nil {
		log.Fatalf("%q is no number", text)
	}
	return found
}

func main() {
	if len(os.Args) != 7 {
		log.Fatal("usage: etcdload ENDPOINT CONNECTIONS SECONDS WORKLOAD VALUE_BYTES KEYS")
	}
	connections, seconds := number(os.Args[2]), number(os.Args[3])
	what := load{os.Args[4], strings.Repeat("v", number(os.Args[5])), number(os.Args[6])}
	clients := make([]*clientv3.Client, connections)
	for at := range clients {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{os.Args[1]}, Logger: zap.NewNop()})
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		if _, err := client.Get(context.Background(), "connect"); err != nil {
			log.Fatal(err)
		}
		clients[at] = client
	}

	outcomes := make([]outcome, connections)
	begun := time.Now()
	until := begun.Add(time.Duration(seconds) * time.Second)
	var running sync.WaitGroup
	for at := range clients {
		running.Go(func() { outcomes[at] = what.run(clients[at], until) })
	}
	running.Wait()
	took := time.Since(begun).Seconds()

	var all []int64
	failed := 0
	for _, each := range outcomes {
		all = append(all, each.microseconds...)
		failed += each.failed
	}
	slices.Sort(all)
	percentile := func(share float64) int64 {
		if len(all) == 0 {
			return 0
		}
		return all[min(len(all)-1, int(share*float64(len(all))))]
	}
	result, err := json.Marshal(map[string]any{
		"requests": len(all), "seconds": took, "failed": failed, "refused": 0,
		"p50": percentile(0.5), "p90": percentile(0.9), "p99": percentile(0.99), "p999": percentile(0.999),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("RESULT %s\n", result)
}
