<?php

declare(strict_types=1);

namespace Antenv;

use Antenv\Types\Model;

/**
 * One page of a list. Iterating over it goes through its items and those of the pages that follow.
 *
 * Further pages are requested when they are needed: iterating may block, and throw the exceptions of a call.
 *
 *     foreach ($client->beta->environments->list() as $environment) {
 *         echo $environment->name, "\n";
 *     }
 *
 * @template T of Model
 *
 * @implements \IteratorAggregate<int, T>
 */
final class PageCursor implements \IteratorAggregate
{
    use Uncopyable;

    /**
     * The items of this page.
     *
     * @var list<T>
     */
    public readonly array $data;

    /** The cursor of the next page; null when this is the last one. */
    public readonly ?string $nextPage;

    /** @var \Closure(string): self<T> */
    private readonly \Closure $follow;

    /** @var Hidden<\stdClass> */
    private readonly Hidden $fields;

    /**
     * @param \Closure(mixed): T        $make
     * @param \Closure(string): self<T> $follow
     */
    private function __construct(\stdClass $fields, \Closure $make, \Closure $follow)
    {
        $data = $fields->data ?? null;
        $next = $fields->next_page ?? null;
        $this->data = array_map($make, is_array($data) ? $data : []);
        $this->nextPage = is_string($next) && $next !== '' ? $next : null;
        $this->follow = $follow;
        $this->fields = new Hidden($fields);
    }

    /**
     * Makes a page of what was decoded.
     *
     * @internal
     *
     * @template U of Model
     *
     * @param \Closure(mixed): U        $make
     * @param \Closure(string): self<U> $follow
     *
     * @return self<U>
     */
    public static function of(mixed $fields, \Closure $make, \Closure $follow): self
    {
        return new self($fields instanceof \stdClass ? $fields : new \stdClass(), $make, $follow);
    }

    /** Returns whether a page follows. */
    public function hasNextPage(): bool
    {
        return $this->nextPage !== null;
    }

    /**
     * Requests the next page.
     *
     * @return self<T>
     *
     * @throws \LogicException This is the last page: see hasNextPage().
     */
    public function getNextPage(): self
    {
        if ($this->nextPage === null) {
            throw new \LogicException('there is no next page: see hasNextPage()');
        }

        return ($this->follow)($this->nextPage);
    }

    /**
     * Iterates over this page and those that follow.
     *
     * @return \Generator<int, self<T>>
     */
    public function pages(): \Generator
    {
        yield $page = $this;
        while ($page->hasNextPage()) {
            yield $page = $page->getNextPage();
        }
    }

    /**
     * Iterates over the items of this page and of those that follow.
     *
     * @return \Generator<int, T>
     */
    public function getIterator(): \Generator
    {
        foreach ($this->pages() as $page) {
            foreach ($page->data as $item) {
                yield $item; // without keys: those of each page would begin at 0 again
            }
        }
    }

    /**
     * Returns this page as the API sent it.
     *
     * @return array<string, mixed>
     */
    public function toArray(): array
    {
        return (array) Json::plain($this->fields->value());
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        return ['data' => $this->data, 'nextPage' => $this->nextPage];
    }
}
