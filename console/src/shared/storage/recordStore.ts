/** A small durable table of the browser (IndexedDB). Each caller has a database of its own: one broken never harms another. */
export interface RecordStore<T> {
  all(): Promise<T[]>;
  put(record: T): Promise<void>;
  remove(key: IDBValidKey): Promise<void>;
}

export function openRecordStore<T>(database: string, keyPath: keyof T & string): RecordStore<T> {
  let opening: Promise<IDBDatabase> | null = null;
  const open = (): Promise<IDBDatabase> =>
    (opening ??= new Promise((resolve, reject) => {
      const request = indexedDB.open(database, 1);
      request.onupgradeneeded = () => void request.result.createObjectStore("records", { keyPath });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => {
        opening = null;
        reject(request.error ?? new Error("IndexedDB"));
      };
    }));
  const run = async <R>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<R>): Promise<R> => {
    const transaction = (await open()).transaction("records", mode, { durability: "strict" });
    const request = act(transaction.objectStore("records"));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error ?? new Error("IndexedDB"));
    });
  };
  return {
    all: () => run("readonly", (store) => store.getAll() as IDBRequest<T[]>),
    put: async (record) => {
      await run("readwrite", (store) => store.put(record));
    },
    remove: (key) => run("readwrite", (store) => store.delete(key)),
  };
}
