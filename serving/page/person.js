// Who is signed in: by the identity provider, where the server knows one; the cookie is out of reach of this page.

import { h } from "./vendor/preact.js";
import { signOut, whoAsks } from "./api.js";

export const NOBODY = { name: "", roles: [], rights: [], is_signed_in: false, sign_in: null };

/** Who asks; nobody where the server does not say. */
export async function askedBy(key) {
  return whoAsks(key).catch(() => NOBODY);
}

/** The name with a way out, or the way in; nothing where the server knows no provider. */
export function Person({ person }) {
  if (person.is_signed_in) {
    return h("p", { class: "person" }, [
      h("span", { title: `Signed in as ${person.roles.join(", ")}` }, person.name),
      h("button", { type: "button", onClick: leave }, "Sign out"),
    ]);
  }
  return person.sign_in && h("p", { class: "person" }, h(SignInLink, { person }));
}

/** The way to the provider and back to this page. */
export function SignInLink({ person, kind }) {
  const here = `${location.pathname.split("/").pop()}${location.search}`;
  return h("a", { class: kind, href: `${person.sign_in}?${new URLSearchParams({ next: here })}` }, "Sign in");
}

async function leave() {
  location.assign(await signOut());
}
