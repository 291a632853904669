/** The words of the answer. Change them here and save. */
export function greeting(name: string): string {
  return `Hello, ${name}`;
}
