package main

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

const ttlSeconds = 6

func (r *run) session(client *clientv3.Client) *concurrency.Session {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(ttlSeconds), concurrency.WithContext(r.ctx))
	must(err)
	return session
}

// candidates waits until so many keys stand below a prefix.
func (r *run) candidates(client *clientv3.Client, prefix string, number int64) {
	for {
		response, err := client.Get(r.ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		must(err)
		if response.Count == number {
			return
		}
	}
}

// lock: two clients hold a lock in turn, also while the store breaks; one that is gone loses it.
func lock(r *run) {
	one, two := r.client(), r.client()
	defer one.Close()
	first, second := r.session(one), r.session(two)
	defer first.Close()
	ours, theirs := concurrency.NewMutex(first, r.prefix+"lock"), concurrency.NewMutex(second, r.prefix+"lock")

	must(ours.Lock(r.ctx))
	fmt.Println("the first one has the lock")
	fmt.Printf("the second one tries: %v\n", theirs.TryLock(r.ctx))
	taken := make(chan error, 1)
	go func() { taken <- theirs.Lock(r.ctx) }()
	r.candidates(one, r.prefix+"lock/", 2)

	r.breakStore()
	var held *clientv3.TxnResponse
	r.insist(func() (err error) {
		held, err = one.Txn(r.ctx).If(ours.IsOwner()).Then(clientv3.OpPut(r.prefix+"guarded", "by the first")).Commit()
		return err
	})
	fmt.Printf("the first one still has it: %t\n", held.Succeeded)
	select {
	case err := <-taken:
		check(false, "the second one did not wait: %v", err)
	default:
	}
	must(ours.Unlock(r.ctx))
	must(<-taken)
	fmt.Println("the second one has the lock")

	begun := time.Now()
	must(two.Close()) // without a word about the session
	must(ours.Lock(r.ctx))
	waited := time.Since(begun)
	check(waited > ttlSeconds*time.Second/2, "the lock was taken from its owner after %v", waited)
	check(waited < 3*ttlSeconds*time.Second, "the lock stayed with who was gone for %v", waited)
	fmt.Println("the first one has the lock of the one that is gone")
	note("after %v", waited)
	must(ours.Unlock(r.ctx))
}

const counters, increments = 4, 10

// counter: what a lock guards is changed by one client at a time, while the store breaks.
func counter(r *run) {
	key := r.prefix + "count"
	client := r.client()
	defer client.Close()
	_, err := client.Put(r.ctx, key, "0")
	must(err)
	var counted [counters]atomic.Int64
	over := make(chan struct{})
	var work sync.WaitGroup
	for number := range counters {
		work.Add(1)
		go func() {
			defer work.Done()
			mine := r.client()
			defer mine.Close()
			session := r.session(mine)
			mutex := concurrency.NewMutex(session, r.prefix+"lock")
			for !closed(over) {
				r.insist(func() error { return mutex.Lock(r.ctx) })
				r.increment(mine, mutex, key)
				counted[number].Add(1)
				r.insist(func() error { return mutex.Unlock(r.ctx) })
			}
			must(session.Close())
		}()
	}
	r.progress(counted[:], increments)
	r.breakStore()
	r.progress(counted[:], increments)
	close(over)
	work.Wait()
	sum := 0
	for number := range counted {
		sum += int(counted[number].Load())
	}
	response, err := client.Get(r.ctx, key)
	must(err)
	fmt.Printf("the count is right: %t\n", amount(string(response.Kvs[0].Value)) == sum)
	note("%d", sum)
}

// increment counts once under the lock, whose owner alone writes: so it can see whether a write was done.
func (r *run) increment(client *clientv3.Client, mutex *concurrency.Mutex, key string) {
	before, next := "", ""
	r.insist(func() error {
		response, err := client.Get(r.ctx, key)
		if err != nil {
			return err
		}
		value := string(response.Kvs[0].Value)
		if value == next {
			return nil
		}
		check(before == "" || value == before, "someone else has written %s", value)
		before, next = value, strconv.Itoa(amount(value)+1)
		written, err := client.Txn(r.ctx).If(mutex.IsOwner()).Then(clientv3.OpPut(key, next)).Commit()
		if err == nil {
			check(written.Succeeded, "the lock is lost")
		}
		return err
	})
}
