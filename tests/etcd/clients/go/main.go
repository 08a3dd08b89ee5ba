// Command etcdflows runs one flow of etcd's own client library, and prints what it saw.
//
//	etcdflows ENDPOINT[,ENDPOINT...] FLOW
//
// The lines are the same with every store that keeps etcd's promises. After the line "break" the program waits for
// a line on its standard input: the caller has then broken the store, and mended it. What differs from one run to
// the next, such as counts and times, goes to standard error.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const patience = 2 * 60 * time.Second

var flows = map[string]func(*run){
	"kv": kv, "stm": stm, "lock": lock, "counter": counter, "election": election, "watch": watch, "lease": lease,
}

// run is what a flow works with. Its methods end the program when something fails.
type run struct {
	ctx       context.Context
	endpoints []string
	prefix    string
	input     *bufio.Reader
}

// client connects as one more program would.
func (r *run) client() *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{Endpoints: r.endpoints, Logger: zap.NewNop()})
	must(err)
	return client
}

// breakStore has the store broken and mended.
func (r *run) breakStore() {
	fmt.Println("break")
	_, err := r.input.ReadString('\n')
	must(err)
}

// insist calls until the store answers: what was under way when it broke ends as Unavailable.
func (r *run) insist(call func() error) {
	for {
		err := call()
		if err == nil {
			return
		}
		if !unavailable(err) {
			must(err)
		}
		select {
		case <-r.ctx.Done():
			must(fmt.Errorf("still not available: %w", err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// progress waits until each worker has done so many things more.
func (r *run) progress(done []atomic.Int64, more int64) {
	for worker := range done {
		for goal := done[worker].Load() + more; done[worker].Load() < goal; {
			must(r.ctx.Err())
			time.Sleep(time.Millisecond)
		}
	}
}

func unavailable(err error) bool {
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		return known.Code() == codes.Unavailable
	}
	return status.Code(err) == codes.Unavailable
}

func must(err error) {
	if err != nil {
		_ = log.Output(2, err.Error())
		os.Exit(1)
	}
}

func check(true bool, otherwise string, values ...any) {
	if !true {
		_ = log.Output(2, fmt.Sprintf(otherwise, values...))
		os.Exit(1)
	}
}

// note tells what differs from one run to the next.
func note(text string, values ...any) {
	fmt.Fprintf(os.Stderr, text+"\n", values...)
}

func main() {
	log.SetFlags(log.Lshortfile)
	if len(os.Args) != 3 || flows[os.Args[2]] == nil {
		log.Fatal("usage: etcdflows ENDPOINT[,ENDPOINT...] FLOW")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	flows[os.Args[2]](&run{
		ctx:       ctx,
		endpoints: strings.Split(os.Args[1], ","),
		prefix:    "go/" + os.Args[2] + "/",
		input:     bufio.NewReader(os.Stdin),
	})
}
