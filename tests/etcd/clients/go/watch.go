package main

import (
	"fmt"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const breaks, writers, keys = 3, 3, 20

// seen is an event as it is compared.
type seen struct {
	kind     mvccpb.Event_EventType
	key      string
	value    string
	revision int64
	version  int64
	previous int64
}

// watch: writers write and delete while the store breaks again and again. Watches that went on all the time have seen
// what one sees that begins afterwards, each event once and in order, and all that was acknowledged is among it.
func watch(r *run) {
	client := r.client()
	defer client.Close()
	begin, err := client.Put(r.ctx, r.prefix+"begin", "")
	must(err)
	options := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(begin.Header.Revision)}
	var histories [3]chan []seen
	for number := range histories {
		histories[number] = make(chan []seen, 1)
		own := r.client()
		defer own.Close()
		channel := own.Watch(r.ctx, r.prefix, options...)
		go func() { histories[number] <- r.follow(channel) }()
	}

	var acknowledged sync.Map
	var repeated atomic.Int64
	var written [writers]atomic.Int64
	over := make(chan struct{})
	var work sync.WaitGroup
	for writer := range writers {
		work.Add(1)
		go func() {
			defer work.Done()
			own := r.client()
			defer own.Close()
			for number := 0; !closed(over); number++ {
				key := fmt.Sprintf("%s%d/%d", r.prefix, writer, number%keys)
				tries := 0
				r.insist(func() error {
					tries++
					if number%5 == 4 {
						response, err := own.Delete(r.ctx, key)
						if err == nil && response.Deleted == 1 {
							acknowledged.Store(response.Header.Revision, key)
						}
						return err
					}
					response, err := own.Put(r.ctx, key, fmt.Sprint(number))
					if err == nil {
						acknowledged.Store(response.Header.Revision, key)
					}
					return err
				})
				repeated.Add(int64(tries - 1))
				written[writer].Add(1)
			}
		}()
	}
	for range breaks {
		r.progress(written[:], keys)
		r.breakStore()
	}
	r.progress(written[:], keys)
	close(over)
	work.Wait()
	r.insist(func() error { _, err := client.Put(r.ctx, r.prefix+"end", ""); return err })

	expected := r.follow(client.Watch(r.ctx, r.prefix, options...))
	revisions := map[int64]string{}
	last := map[string]seen{}
	for at, event := range expected {
		check(at == 0 || expected[at-1].revision < event.revision, "event %d comes too late: %v", at, event)
		check(event.previous == last[event.key].revision, "%v has another previous value than %v", event, last[event.key])
		revisions[event.revision] = event.key
		last[event.key] = event
		if event.kind == mvccpb.DELETE {
			delete(last, event.key)
		}
	}
	for number, history := range histories {
		actual := <-history
		check(len(actual) == len(expected), "watch %d has seen %d events, not %d", number, len(actual), len(expected))
		for at, event := range actual {
			check(event == expected[at], "watch %d has seen %v, not %v", number, event, expected[at])
		}
		fmt.Printf("watch %d has seen each event once and in order\n", number)
	}
	acknowledged.Range(func(revision, key any) bool {
		check(revisions[revision.(int64)] == key, "no event at revision %d of %s", revision, key)
		return true
	})
	fmt.Println("what was acknowledged was seen")
	note("%d events, %d requests repeated", len(expected), repeated.Load())
}

// follow returns what a watch tells, up to the key "end".
func (r *run) follow(channel clientv3.WatchChan) (history []seen) {
	for response := range channel {
		must(response.Err())
		for _, event := range response.Events {
			next := seen{event.Type, string(event.Kv.Key), string(event.Kv.Value), event.Kv.ModRevision, event.Kv.Version, 0}
			if event.PrevKv != nil {
				next.previous = event.PrevKv.ModRevision
			}
			history = append(history, next)
			if next.key == r.prefix+"end" {
				return history
			}
		}
	}
	must(fmt.Errorf("the watch has ended: %w", r.ctx.Err()))
	return nil
}
