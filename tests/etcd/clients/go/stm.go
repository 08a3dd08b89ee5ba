package main

import (
	"fmt"
	"math/rand"
	"strconv"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const accounts, tellers, opening, transfers = 5, 4, 100, 20

// stm: software transactions move money between accounts while the store breaks. A transfer whose outcome is not
// known is done again, perhaps for the second time; none may be done by half, and no look may see one.
func stm(r *run) {
	account := func(number int) string { return fmt.Sprintf("%saccount/%d", r.prefix, number) }
	client := r.client()
	defer client.Close()
	for number := range accounts {
		_, err := client.Put(r.ctx, account(number), strconv.Itoa(opening))
		must(err)
	}
	var done [tellers + 1]atomic.Int64
	over := make(chan struct{})
	var work sync.WaitGroup
	for number := range tellers {
		work.Add(1)
		go func() {
			defer work.Done()
			teller := r.client()
			defer teller.Close()
			for !closed(over) {
				from, to := rand.Intn(accounts), rand.Intn(accounts-1)
				if to >= from {
					to++
				}
				r.insist(func() error { return transfer(r, teller, account(from), account(to)) })
				done[number].Add(1)
			}
		}()
	}
	work.Add(1)
	go func() {
		defer work.Done()
		auditor := r.client()
		defer auditor.Close()
		for !closed(over) {
			sum := 0
			r.insist(func() error {
				_, err := concurrency.NewSTM(auditor, func(look concurrency.STM) error {
					sum = 0
					for number := range accounts {
						sum += amount(look.Get(account(number)))
					}
					return nil
				}, concurrency.WithAbortContext(r.ctx), concurrency.WithIsolation(concurrency.SerializableSnapshot))
				return err
			})
			check(sum == accounts*opening, "an auditor has seen %d", sum)
			done[tellers].Add(1)
		}
	}()
	r.progress(done[:tellers], transfers)
	r.breakStore()
	r.progress(done[:tellers], transfers)
	r.progress(done[tellers:], 1)
	close(over)
	work.Wait()
	sum := 0
	response, err := client.Get(r.ctx, r.prefix+"account/", clientv3.WithPrefix())
	must(err)
	for _, kv := range response.Kvs {
		sum += amount(string(kv.Value))
	}
	fmt.Printf("the sum of %d accounts is %d\n", len(response.Kvs), sum)
	for number := range done {
		note("%d did %d", number, done[number].Load())
	}
}

func transfer(r *run, teller *clientv3.Client, from, to string) error {
	_, err := concurrency.NewSTM(teller, func(transaction concurrency.STM) error {
		here, there := amount(transaction.Get(from)), amount(transaction.Get(to))
		transaction.Put(from, strconv.Itoa(here-1))
		transaction.Put(to, strconv.Itoa(there+1))
		return nil
	}, concurrency.WithAbortContext(r.ctx), concurrency.WithPrefetch(from, to))
	return err
}

func amount(text string) int {
	number, err := strconv.Atoi(text)
	must(err)
	return number
}

func closed(signal chan struct{}) bool {
	select {
	case <-signal:
		return true
	default:
		return false
	}
}
