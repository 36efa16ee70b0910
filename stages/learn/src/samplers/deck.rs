//! A shuffled deck: every card is dealt once before any is dealt again, and no card occurs twice in one hand.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Cards that are dealt without replacement and reshuffled when they run out.
pub(super) struct Deck {
    cards: Vec<u32>,
    rest: Vec<u32>,
}

impl Deck {
    pub(super) fn new(cards: Vec<u32>) -> Self {
        Self { cards, rest: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.cards.len()
    }

    /// Deals `count` different cards, or all if there are fewer. If the deck runs out in the middle of a hand, the cards of this
    /// hand are left out of the next shuffle.
    pub(super) fn deal(&mut self, count: usize, rng: &mut ChaCha8Rng) -> Vec<u32> {
        let mut hand = Vec::with_capacity(count.min(self.cards.len()));
        while hand.len() < count.min(self.cards.len()) {
            match self.rest.pop() {
                Some(card) => hand.push(card),
                None => {
                    self.rest.extend(self.cards.iter().filter(|card| !hand.contains(card)));
                    self.rest.shuffle(rng);
                }
            }
        }
        hand
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Streams;

    #[test]
    fn hands_hold_different_cards_and_all_cards_are_dealt() {
        let mut deck = Deck::new((0..7).collect());
        let mut rng = Streams::new(5).rng();
        let mut seen = [0; 7];
        for _ in 0..35 {
            let mut hand = deck.deal(3, &mut rng);
            hand.iter().for_each(|&card| seen[card as usize] += 1);
            hand.sort_unstable();
            hand.dedup();
            assert_eq!(hand.len(), 3);
        }
        assert!(seen.iter().all(|&count| (13..=17).contains(&count)), "{seen:?}");
        assert_eq!(deck.deal(9, &mut rng).len(), 7);
    }
}
