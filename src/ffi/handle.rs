//! Handles: numbers in the shape of pointers, looked up in a table and never dereferenced.
//!
//! A handle holds its type, a slot of the table and the slot's generation, which moves on when the slot is freed:
//!
//! ```text
//! most significant | type 4 bits | generation | slot | least significant
//! ```
//!
//! So NULL, garbage, a freed handle and one of a different type never pass for a valid one. The type bits also keep handles out of
//! the range of addresses on 64-bit systems.

use crate::error::{Error, Result, Status};
use crate::runtime::fork::ForkSafeMutex;
use std::sync::Arc;

const TYPE_BITS: u32 = 4;
const SLOT_BITS: u32 = (usize::BITS - TYPE_BITS) * 2 / 5;
const GENERATION_BITS: u32 = usize::BITS - TYPE_BITS - SLOT_BITS;

/// The live handles of one type.
pub struct Table<T> {
    kind: usize,
    noun: &'static str,
    slots: ForkSafeMutex<Slots<T>>,
}

struct Slots<T> {
    all: Vec<Slot<T>>,
    free: Vec<usize>,
}

struct Slot<T> {
    generation: usize,
    value: Option<Arc<T>>,
}

impl<T> Table<T> {
    /// Creates an empty table. `kind` distinguishes its handles from those of other tables (1 to 15); error messages call them `noun`.
    pub const fn new(kind: usize, noun: &'static str) -> Table<T> {
        Table { kind, noun, slots: ForkSafeMutex::new(Slots { all: Vec::new(), free: Vec::new() }) }
    }

    /// Adds a value and returns its handle.
    pub fn insert<H>(&self, value: T) -> Result<*mut H> {
        let mut slots = self.slots.lock();
        let slot = match slots.free.pop() {
            Some(slot) => slot,
            None if slots.all.len() < 1 << SLOT_BITS => {
                slots.all.push(Slot { generation: 0, value: None });
                slots.all.len() - 1
            }
            None => {
                let most = slots.all.len();
                let message =
                    format!("{most} handles of a {} are alive, more than that cannot be: free those that are done", self.noun);
                return Err(Error::new(Status::Internal, message));
            }
        };
        slots.all[slot].value = Some(Arc::new(value));
        let number = self.kind << (usize::BITS - TYPE_BITS) | slots.all[slot].generation << SLOT_BITS | slot;
        Ok(std::ptr::without_provenance_mut(number))
    }

    /// Returns the value of a handle. It stays alive until it is dropped, even if the handle is freed meanwhile.
    pub fn get<H>(&self, handle: *const H) -> Result<Arc<T>> {
        let slots = self.slots.lock();
        let slot = self.slot(&slots, handle.addr())?;
        slots.all[slot].value.clone().ok_or_else(|| self.invalid())
    }

    /// Frees a handle and returns its value.
    pub fn remove<H>(&self, handle: *const H) -> Result<Arc<T>> {
        let mut slots = self.slots.lock();
        let slot = self.slot(&slots, handle.addr())?;
        let entry = &mut slots.all[slot];
        let value = entry.value.take().ok_or_else(|| self.invalid())?;
        entry.generation += 1;
        // A slot whose generations are used up is never reused: an old handle must not become valid again.
        if entry.generation < 1 << GENERATION_BITS {
            slots.free.push(slot);
        }
        Ok(value)
    }

    fn slot(&self, slots: &Slots<T>, number: usize) -> Result<usize> {
        let slot = number & ((1 << SLOT_BITS) - 1);
        let generation = number >> SLOT_BITS & ((1 << GENERATION_BITS) - 1);
        let is_live =
            number >> (usize::BITS - TYPE_BITS) == self.kind && slots.all.get(slot).is_some_and(|s| s.generation == generation);
        if is_live { Ok(slot) } else { Err(self.invalid()) }
    }

    fn invalid(&self) -> Error {
        Error::about(Status::InvalidHandle, self.noun, "is not a valid handle: it is NULL, already freed, or of a different type")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_live_until_it_is_freed_and_never_again() {
        let table = Table::new(1, "thing");
        let first: *mut u8 = table.insert("first").unwrap();
        assert!(!first.is_null());
        assert_eq!(*table.get(first).unwrap(), "first");
        assert_eq!(*table.remove(first).unwrap(), "first");
        let second: *mut u8 = table.insert("second").unwrap();
        assert_ne!(first, second, "the slot is used again, the handle is not");
        assert!(table.get(first).is_err() && table.remove(first).is_err());
        assert_eq!(*table.get(second).unwrap(), "second");
    }

    #[test]
    fn null_garbage_and_handles_of_another_type_are_refused() {
        let (table, other) = (Table::new(1, "thing"), Table::new(2, "other"));
        let handle: *mut u8 = other.insert(()).unwrap();
        table.insert::<u8>(()).unwrap();
        for wrong in [std::ptr::null(), handle.cast_const(), std::ptr::dangling(), std::ptr::without_provenance(usize::MAX)] {
            assert_eq!(table.get(wrong).unwrap_err().status(), Status::InvalidHandle);
        }
    }

    #[test]
    fn a_value_in_use_outlives_its_handle() {
        let table = Table::new(1, "thing");
        let handle: *mut u8 = table.insert(String::from("held")).unwrap();
        let held = table.get(handle).unwrap();
        table.remove(handle).unwrap();
        assert_eq!(*held, "held");
    }
}
